import type { ErrnoName } from './abi/errno.ts'

/** What one code of one call means to a caller of the typed API. */
export interface Refusal {
  /** The operation of the API: `'share'`. */
  readonly operation: string
  /** As {@link XenError.syscall} has it: `'ioctl GNTALLOC_ALLOC_GREF'`. */
  readonly syscall: string
  readonly code: ErrnoName
  readonly cause: string
  readonly fix: string
}

/**
 * Per operation, which codes may occur and what to do. docs/errors.md shows this very table, and a
 * test compares the two. On real Xen, where the kernel does not say why, `cause` and `fix` name
 * what is possible.
 */
export const REFUSALS: readonly Refusal[] = [
  {
    operation: 'any',
    syscall: 'open',
    code: 'ENOENT',
    cause: 'there is no such device file: this is no Xen domain, or the driver is not loaded',
    fix:
      'load it (modprobe xen-gntalloc, xen-gntdev, xen-evtchn; on a host interdom host load); ' +
      'see interdom doctor',
  },
  {
    operation: 'any',
    syscall: 'open',
    code: 'EACCES',
    cause: 'this user may not open the device file',
    fix: 'run as root, or give the user the files in /dev/xen with a udev rule',
  },
  {
    operation: 'any',
    syscall: 'open',
    code: 'EMFILE',
    cause: 'the process has as many descriptors as it may have',
    fix: 'close some, or raise the limit (ulimit -n)',
  },
  {
    operation: 'any',
    syscall: 'any',
    code: 'EHOSTDOWN',
    cause: 'the host, or the simulated domain of this process, is gone',
    fix: 'start the host again (interdom host start) and connect anew',
  },
  {
    operation: 'share',
    syscall: 'ioctl GNTALLOC_ALLOC_GREF',
    code: 'ENOSPC',
    cause: 'the limit of gntalloc is reached by all processes together, or the grant table is full',
    fix: 'unmap shares, or raise /sys/module/xen_gntalloc/parameters/limit or gnttab_max_frames',
  },
  {
    operation: 'share',
    syscall: 'ioctl GNTALLOC_ALLOC_GREF',
    code: 'ENOMEM',
    cause: 'the kernel has no memory for the pages',
    fix: 'share fewer pages, or give the domain more memory',
  },
  {
    operation: 'share',
    syscall: 'mmap gntalloc',
    code: 'ENOMEM',
    cause: 'the process has as many mappings as it may have, or no memory',
    fix: 'unmap some, share several pages at once, or raise vm.max_map_count',
  },
  {
    operation: 'map',
    syscall: 'ioctl GNTDEV_MAP_GRANT_REF',
    code: 'EINVAL',
    cause: 'more pages in one call than gntdev allows',
    fix: 'map fewer at once, or raise /sys/module/xen_gntdev/parameters/limit',
  },
  {
    operation: 'map',
    syscall: 'ioctl GNTDEV_MAP_GRANT_REF',
    code: 'ENOMEM',
    cause: 'no memory or address space for that many pages, or the limit of 2011 kernels',
    fix: 'map fewer pages, or unmap some',
  },
  {
    operation: 'map',
    syscall: 'mmap gntdev',
    code: 'EINVAL',
    cause: 'Xen refused at least one of the grants, and the kernel does not say which or why',
    fix: 'check domid and ref, and that the granter lives and granted it to us, writable if asked',
  },
  {
    operation: 'map',
    syscall: 'mmap gntdev',
    code: 'ENOMEM',
    cause: 'the process has as many mappings as it may have, or no memory',
    fix: 'unmap some, map several pages at once, or raise vm.max_map_count',
  },
  {
    operation: 'share.notifyOnUnmap',
    syscall: 'ioctl GNTALLOC_SET_UNMAP_NOTIFY',
    code: 'EINVAL',
    cause: 'the port of sendEvent is not bound in this domain, or not through /dev/xen/evtchn',
    fix: 'bind the port first and keep it open until the call returned',
  },
  {
    operation: 'mapping.notifyOnUnmap',
    syscall: 'ioctl GNTDEV_SET_UNMAP_NOTIFY',
    code: 'EINVAL',
    cause: 'the port of sendEvent is not bound in this domain, or not through /dev/xen/evtchn',
    fix: 'bind the port first and keep it open until the call returned',
  },
  {
    operation: 'offsetForAddress',
    syscall: 'ioctl GNTDEV_GET_OFFSET_FOR_VADDR',
    code: 'EINVAL',
    cause: 'what lies at the address, or next above it, is no mapping of gntdev',
    fix: 'pass the address of a mapping',
  },
  {
    operation: 'copy',
    syscall: 'ioctl GNTDEV_GRANT_COPY',
    code: 'EFAULT',
    cause: 'bytes that are to be written lie in read-only memory',
    fix: 'copy into ordinary bytes, or into a writable share or mapping',
  },
  {
    operation: 'copy',
    syscall: 'ioctl GNTDEV_GRANT_COPY',
    code: 'ENOMEM',
    cause: 'the kernel has no memory for the operation',
    fix: 'copy fewer segments at once',
  },
  {
    operation: 'evtchn.bindUnbound',
    syscall: 'ioctl EVTCHN_BIND_UNBOUND_PORT',
    code: 'ENOSPC',
    cause: 'the domain has no free port',
    fix: 'unbind ports, or raise max_event_channels in the configuration of the domain',
  },
  {
    operation: 'evtchn.bindUnbound',
    syscall: 'ioctl EVTCHN_BIND_UNBOUND_PORT',
    code: 'EACCES',
    cause: 'the connection was restricted to one domain, which forbids this call wholly',
    fix: 'bind before evtchn.restrict, or let the other side call bindUnbound',
  },
  {
    operation: 'evtchn.bindInterdomain',
    syscall: 'ioctl EVTCHN_BIND_INTERDOMAIN',
    code: 'EINVAL',
    cause: 'the remote port is not unbound, not reserved for this domain, or its domain is dying',
    fix: 'let the other side call bindUnbound for this domain, and use the port once',
  },
  {
    operation: 'evtchn.bindInterdomain',
    syscall: 'ioctl EVTCHN_BIND_INTERDOMAIN',
    code: 'ESRCH',
    cause: 'there is no such domain',
    fix: 'check the domid; the other domain must be running',
  },
  {
    operation: 'evtchn.bindInterdomain',
    syscall: 'ioctl EVTCHN_BIND_INTERDOMAIN',
    code: 'EACCES',
    cause: 'the connection was restricted to another domain, or Xen’s policy forbids it',
    fix: 'use another connection for other domains',
  },
  {
    operation: 'evtchn.bindInterdomain',
    syscall: 'ioctl EVTCHN_BIND_INTERDOMAIN',
    code: 'ENOSPC',
    cause: 'the domain has no free port',
    fix: 'unbind ports, or raise max_event_channels in the configuration of the domain',
  },
  {
    operation: 'evtchn.bindVirq',
    syscall: 'ioctl EVTCHN_BIND_VIRQ',
    code: 'EINVAL',
    cause: 'there is no such virtual interrupt',
    fix: 'use a number below 24',
  },
  {
    operation: 'evtchn.bindVirq',
    syscall: 'ioctl EVTCHN_BIND_VIRQ',
    code: 'EEXIST',
    cause: 'the virtual interrupt is already bound, mostly by the kernel itself',
    fix: 'unbind it where it is bound; the kernel’s own cannot be had',
  },
  {
    operation: 'evtchn.bindVirq',
    syscall: 'ioctl EVTCHN_BIND_VIRQ',
    code: 'EBUSY',
    cause: 'another domain handles this global interrupt',
    fix: 'run in the domain that Xen gave it to',
  },
  {
    operation: 'evtchn.bindVirq',
    syscall: 'ioctl EVTCHN_BIND_VIRQ',
    code: 'EACCES',
    cause: 'the connection was restricted to one domain, which forbids this call wholly',
    fix: 'bind before evtchn.restrict',
  },
  {
    operation: 'evtchn.restrict',
    syscall: 'ioctl EVTCHN_RESTRICT_DOMID',
    code: 'EACCES',
    cause: 'the connection is restricted already, and that cannot be undone',
    fix: 'open another connection',
  },
  {
    operation: 'evtchn.restrict',
    syscall: 'ioctl EVTCHN_RESTRICT_DOMID',
    code: 'EINVAL',
    cause: 'domain 0 cannot be the one that is left',
    fix: 'restrict to another domain, or not at all',
  },
]

/** What to do about this code of this call, where the platform itself had no better word. */
export function fixFor(syscall: string, code: string): string | undefined {
  const kind = syscall.startsWith('open ') ? 'open' : syscall
  const row =
    REFUSALS.find(r => r.syscall === kind && r.code === code) ??
    REFUSALS.find(r => r.syscall === 'any' && r.code === code)
  return row?.fix
}
