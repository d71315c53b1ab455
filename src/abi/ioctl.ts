/**
 * ioctl numbers with direction NONE, as all of Xen's:
 *
 *      31 30 29             16 15         8 7          0
 *     +-----+-----------------+------------+------------+
 *     | 0 0 |  size (14 bits) |    type    |     nr     |
 *     +-----+-----------------+------------+------------+
 *
 * The drivers compare the whole number, so another size is another (unknown) command.
 * Source: include/uapi/asm-generic/ioctl.h.
 */
export function ioctlNumber(type: string, nr: number, size: number): number {
  return ((size & 0x3fff) << 16) | (type.charCodeAt(0) << 8) | nr
}
