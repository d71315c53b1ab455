/** Bounds of event channels. */

/**
 * Rounds of waiting and delivering before everything else in the program gets a turn of the event
 * loop: an event that is there already needs none, and a busy peer always has one more.
 */
export const ROUNDS_A_TURN = 64
