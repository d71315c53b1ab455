/**
 * Pages of one share or one map. Four times what a whole grant table of Xen's default size holds;
 * the index arithmetic of gntdev ends at half of it.
 */
export const PAGES_MAX: number = 2 ** 20

/** Segments of one grant copy. */
export const COPY_SEGMENTS_MAX = 16384
