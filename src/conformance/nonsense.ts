/** Names of things that do not exist, for cases that ask for them. */
import { DOMID_FIRST_RESERVED } from '../abi/domid.ts'
import { PAGE_SIZE } from '../abi/page.ts'

/** Below what any process may map. */
export const NOWHERE: number = PAGE_SIZE

/** A real id that no domain has. */
export const NO_SUCH_DOMAIN: number = DOMID_FIRST_RESERVED - 1

/** A ref beyond any grant table. */
export const NO_SUCH_REF = 0xffff_fff0

/** A port below the channel maximum that no case's descriptor has: Linux itself bound it. */
export const KERNEL_PORT = 1
