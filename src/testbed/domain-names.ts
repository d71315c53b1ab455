export type DomainName = 'dom0' | 'domu1' | 'domu2' | 'domu3' | 'domu4' | 'domu5'

export const domainNames: readonly DomainName[] = [
  'dom0',
  'domu1',
  'domu2',
  'domu3',
  'domu4',
  'domu5',
]
/** dom0's shell script goes through the domains by these names. */
export const maxGuests: number = domainNames.length - 1
