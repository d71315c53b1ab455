/** Pages that a process has at known places: everything that a sequence maps lies among them. */
export const ARENA_PAGES = 24
/** Behind them: a page for arguments that must lie somewhere, and one where nothing ever lies. */
export const ALL_PAGES: number = ARENA_PAGES + 2
/**
 * Where a process that is not there for our sake has its arena. What it maps for itself the kernel
 * puts at the upper end, into the first hole that is large enough: never so far down.
 */
export const ARENA_AT: number = 2 ** 44
/** A tick of the timer that frees what was still mapped when it was deallocated, and a margin. */
export const SETTLE_MS = 1100
/** How often that may be needed, ten entries a tick, before the model itself is wrong. */
export const SETTLES_MAX = 10
/** How long an event that the model has may take to come in an emulated machine. */
export const EVENT_WITHIN_MS = 3000
/** After so many sequences a rig shows that nothing was left behind. */
export const SEQUENCES_PER_CLEAN = 50
/** So many are played at once on a machine that is told by files. */
export const SEQUENCES_PER_SCRIPT = 500
/** What the modules' parameters start with, and have again after a sequence. Pages. */
export const MODULE_LIMITS = { 'gntalloc.limit': 1024, 'gntdev.limit': 65536 } as const
/** A difference that does not come again in so many runs of its sequence was noise. */
export const CONFIRMATIONS = 2
/** Runs of candidates while a sequence is made shorter. */
export const SHRINK_RUNS_MAX = 400
