import { type Address, addressOfBytes, koffi } from './koffi.ts'

/**
 * The memory at an address as an ArrayBuffer, not a copy. V8 counts the length as external memory
 * and never unmaps: the caller keeps the range mapped for as long as the buffer can be reached.
 * Costs about 1 us. A SharedArrayBuffer would be the honest type, yet bulk copies into one are 3
 * to 5 times slower, and Atomics work on this one across processes alike (binding.md).
 */
export function viewMemory(address: Address, length: number): ArrayBuffer {
  return koffi().view(address, length)
}

/**
 * The address of the first byte of `bytes`. For bytes that are no memory of ours it is only good
 * for as long as they are referenced.
 */
export function addressOf(bytes: Uint8Array): Address {
  return addressOfBytes(bytes)
}
