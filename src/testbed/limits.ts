/** From QEMU's start to its end; a busy host needs several times what an idle one does. */
export const defaultTimeoutSeconds = 180
export const maxTimeoutSeconds: number = 24 * 60 * 60

/** How many runs without a folder of their own leave their records in the cache. */
export const keptRuns = 10

/** What is kept of one stream in memory; the file has it all. */
export const keptCharacters: number = 64 * 1024 * 1024

/** What a failure of the machine quotes of its console. */
export const consoleTailLines = 30
