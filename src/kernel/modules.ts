import type { DeviceName } from '../abi/devices.ts'
import { MODULE_NAMES, MODULES, type ModuleName } from '../abi/modules.ts'
import type { ErrorFacts } from '../base/errors.ts'
import type { Domain } from './domain.ts'

/**
 * The modules that the kernel of a domain has loaded. Each brings the device file of its driver,
 * and takes it along when it goes: open(2) then finds nothing.
 *
 * Nothing else goes with it. No file is open then, so a driver has no pages and no ports left but
 * those that others keep: grants that are still mapped, ports that a notification holds. These are
 * the business of the kernel itself (grant-table.c, events_base.c). The gntalloc of 2011 had the
 * former on a list of its own and forgot them, a leak that is not copied. A limit stays as it was
 * set, as if it stood in modprobe.d.
 */
export class Modules {
  readonly #domain: Pick<Domain, 'domid' | 'files' | 'isDying'>
  readonly #loaded: Set<ModuleName>

  constructor(domain: Pick<Domain, 'domid' | 'files' | 'isDying'>, loaded: Iterable<ModuleName>) {
    this.#domain = domain
    this.#loaded = new Set(loaded)
  }

  /** Those that are not loaded. */
  get missing(): ModuleName[] {
    return MODULE_NAMES.filter(module => !this.#loaded.has(module))
  }

  /** Why a device has no file, for a person; undefined when its module is there. */
  absenceOf(device: DeviceName): ErrorFacts | undefined {
    const module = MODULES[device]
    if (this.#loaded.has(module)) return undefined
    return { module, fix: `load the driver: ${module} in domain ${this.#domain.domid}` }
  }

  /** As modprobe: one that is there stays. Throws when the domain was destroyed. */
  load(module: ModuleName): void {
    this.#assertAlive()
    this.#loaded.add(module)
  }

  /**
   * As rmmod: takes a module out, or answers why that is -EBUSY (rmmod's word; delete_module(2)
   * has -EWOULDBLOCK). Every open file holds the module of its driver (`fops_get`), also one that
   * a mapping alone keeps open. To take out what is not there is no error. Throws when the domain
   * was destroyed.
   */
  unload(module: ModuleName): string | undefined {
    this.#assertAlive()
    const { domid, files } = this.#domain
    const users = [...files].filter(({ device }) => MODULES[device] === module).length
    if (users === 0) {
      this.#loaded.delete(module)
      return undefined
    }
    const inUse = `module ${module} of domain ${domid} is in use, open files: ${users}`
    return `${inUse}; close them, and unmap what was mapped of them`
  }

  #assertAlive(): void {
    const { domid, isDying } = this.#domain
    if (isDying) throw new Error(`domain ${domid} was destroyed`)
  }
}
