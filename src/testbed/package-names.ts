export const xenVersion = '4.17'

/** The kernel whose drivers the project's reference describes. */
export const defaultKernel = 'linux-image-6.12.117+deb12-amd64-unsigned'

/** What is unpacked beside the kernel: the hypervisor, its tools and their libraries, a shell. */
export const guestPackages: readonly string[] = [
  `xen-hypervisor-${xenVersion}-amd64`,
  `xen-utils-${xenVersion}`,
  'xenstore-utils',
  'libxencall1',
  'libxendevicemodel1',
  'libxenevtchn1',
  'libxenforeignmemory1',
  'libxengnttab1',
  'libxenhypfs1',
  `libxenmisc${xenVersion}`,
  'libxenstore4',
  'libxentoolcore1',
  'libxentoollog1',
  'libyajl2',
  'busybox-static',
]
