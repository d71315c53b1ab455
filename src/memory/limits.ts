/**
 * Kernel mappings that are left to V8, libuv and other libraries, of the vm.max_map_count (65,530
 * unless someone raised it) that a process may have. V8 aborts the process when it cannot map a
 * page of its heap, so our calls answer -ENOMEM before that. A quarter of the limit where that is
 * less.
 */
export const MAPPINGS_RESERVE = 4096

/**
 * Part of the reserve that unmapping may still use: a page taken out of the middle of a larger
 * kernel mapping makes three of it. munmap(2) answers ENOMEM in the same situation.
 */
export const MAPPINGS_RESERVE_UNMAP = 2048

/** After so many mappings by our own count, those of the whole process are counted again. */
export const MAPPINGS_RECOUNT = 8192

/** vm.max_map_count where /proc/sys is not to be read. Source: Linux, DEFAULT_MAX_MAP_COUNT. */
export const MAPPINGS_DEFAULT_MAX = 65530
