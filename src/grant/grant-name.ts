import { DOMID_FIRST_RESERVED } from '../abi/domid.ts'
import type { GrantName } from '../abi/gntdev.ts'
import { described, integerBetween } from '../base/arguments.ts'

export const REF_MAX: number = 2 ** 32 - 1

/** A domain that can own or map grants: reserved ids, DOMID_SELF too, are refused by Xen. */
export function checkDomid(name: string, domid: unknown): number {
  return integerBetween(name, domid, 0, DOMID_FIRST_RESERVED - 1)
}

/**
 * A grant's name as it came by whatever road: checked, and copied, since it may change under us.
 * The driver takes 32 bits of domid and drops the upper 16, so a wrong one would name another.
 */
export function checkGrantName(value: unknown, at: string): GrantName {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${at} must be { domid, ref }, got ${described(value)}`)
  }
  const { domid, ref } = value as Partial<GrantName>
  return {
    domid: checkDomid(`${at}.domid`, domid),
    ref: integerBetween(`${at}.ref`, ref, 0, REF_MAX),
  }
}

/** `1:8,9 3:8`: for people. At most four, then how many more. */
export function describeGrants(grants: readonly GrantName[]): string {
  const shown = grants.slice(0, 4).map(({ domid, ref }) => `${domid}:${ref}`)
  const rest = grants.length - shown.length
  return rest > 0 ? `${shown.join(' ')} and ${rest} more` : shown.join(' ')
}
