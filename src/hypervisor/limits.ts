/** What the toolstack limits per domain; read anew at each use, so that it may change. */
export interface HypervisorLimits {
  /** Frames of the grant table, 512 entries each (gnttab_max_frames). */
  maxGrantFrames: number
  /** Frames of the maptrack table, 256 handles each (gnttab_max_maptrack_frames). */
  maxMaptrackFrames: number
  /** Highest permitted port number (xl max_event_channels). */
  maxEventChannels: number
}
