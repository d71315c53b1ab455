/**
 * The calls of libc that interdom makes: thin, typed, and in the seam's convention. Each answers 0
 * or more, or -errno, and throws for nothing that the system refuses. Every descriptor that they
 * create is close-on-exec, so that a child inherits no page and no port by accident.
 */
export * from './files.ts'
export type { Address, Result } from './koffi.ts'
export * from './mappings.ts'
export * from './messages.ts'
export * from './process.ts'
export * from './sockets.ts'
export * from './waiting.ts'
