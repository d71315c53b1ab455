/** Event channels as the hypervisor keeps them. Source: Xen public/event_channel.h and xen.h. */
export const EVTCHNSTAT = {
  closed: 0,
  unbound: 1,
  interdomain: 2,
  pirq: 3,
  virq: 4,
  ipi: 5,
} as const

/** Virtual interrupts are numbered below this. */
export const NR_VIRQS = 24
/** Virtual interrupts that Linux itself binds on vCPU 0: timer and debug console of dom0. */
export const VIRQ_TIMER = 0
export const VIRQ_DEBUG = 1
/** Highest number of ports with the FIFO ABI, and ports in one page of its event array. */
export const FIFO_PORTS_MAX = 131072
export const FIFO_PORTS_PER_PAGE = 1024
