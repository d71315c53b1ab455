/**
 * Section 7.14: mappings of gntdev in an HVM domain. They need such a domain and another one whose
 * pages it maps, since a grant to itself would take its own page away.
 */
import { type ConformanceCase, defineCaseFor } from '../case.ts'

export const hvmMappings: readonly ConformanceCase[] = [
  defineCaseFor('hvm', 310, 'pages of one HVM mapping are released together, by UNMAP'),
  defineCaseFor('hvm', 311, 'memory put over an HVM mapping fires at UNMAP'),
  defineCaseFor('hvm', 312, 'mprotect of an HVM mapping does what it says'),
  defineCaseFor('hvm', 313, 'an HVM mapping goes on at the address it was moved to'),
  defineCaseFor('hvm', 314, 'MADV_DONTNEED of an HVM mapping leaves the grant mapped'),
  defineCaseFor('hvm', 315, 'only a private futex works on an HVM mapping'),
  defineCaseFor('hvm', 316, 'an HVM mapping is a buffer as any, except for msync and GRANT_COPY'),
  defineCaseFor('hvm', 317, 'an HVM mapping fires when a forked child has let it go too'),
  defineCaseFor('hvm', 318, 'a piece of an HVM mapping has the offset and count of the whole'),
  defineCaseFor('hvm', 319, 'stores to an HVM mapping that was made without access are lost'),
  defineCaseFor('hvm', 322, 'stores to a read-only grant in an HVM mapping are lost'),
  defineCaseFor('hvm', 323, 'a byte armed before a read-only HVM mapping is not cleared'),
]
