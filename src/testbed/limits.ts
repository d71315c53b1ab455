/** From QEMU's start to its end; a busy host needs several times what an idle one does. */
export const defaultTimeoutSeconds = 180
export const maxTimeoutSeconds: number = 24 * 60 * 60

/** How often a file is looked at that the machine writes. */
export const pollMilliseconds = 100

/** Payloads of the same multiple of it can share a snapshot. */
export const payloadStep: number = 32 * 1024 * 1024

/** How many runs without a folder of their own leave their records in the cache. */
export const keptRuns = 10

/** What is kept of one stream in memory; the file has it all. */
export const keptCharacters: number = 64 * 1024 * 1024

/** What a failure of the machine quotes of its console. */
export const consoleTailLines = 30
