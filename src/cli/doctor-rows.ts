import { DEVICE_NAMES } from '../abi/devices.ts'
import { MODULES, type ModuleName } from '../abi/modules.ts'

/** What one look at the machine found. */
export interface DoctorRow {
  /** What it is needed for. */
  readonly group: 'node' | 'xen' | 'host' | 'testbed' | 'choice'
  readonly name: string
  readonly ok: boolean
  /** What is there. */
  readonly found: string
  /** What to do; only where something is missing. */
  readonly fix?: string
}

/** Everything that the doctor looks at, so that a test can be any machine. */
export interface Probes {
  readonly nodeVersion: string
  readonly architecture: string
  readonly osPlatform: string
  /** `'glibc 2.36'`, `'musl'`, or undefined when unknown. */
  readonly libc: string | undefined
  readonly uid: number
  /** The text of a small file, trimmed, or the code of the error. */
  readFile(path: string): { readonly text: string } | { readonly code: string }
  /** Whether a file can be opened for reading and writing: undefined, or the code of the error. */
  access(path: string): string | undefined
  /** Loads the native binding: undefined, or what went wrong. */
  native(): Promise<string | undefined>
  /** Where a host would be, and what one that runs there says. */
  host(): Promise<{
    readonly directory: string
    readonly running: string | undefined
    /** Version of the wire that a host there speaks, and the one that we speak. */
    readonly version: number | undefined
    readonly ownVersion: number
    /** Bytes of the longest path of a socket there, and how many there may be. */
    readonly pathBytes: number
    readonly pathBytesMax: number
    /** Of each of its domains, the modules that are not loaded there. */
    readonly missingModules: readonly { readonly domid: number; readonly module: ModuleName }[]
    /** Why a host could not be there. */
    readonly trouble: string | undefined
  }>
  /** Makes sealed memory as a host does: undefined, or what went wrong. */
  seals(): string | undefined
  /** What connect() would take without options, or why it would take nothing. */
  choice(): { readonly found: string } | { readonly trouble: string }
  /** What the test bed lacks here: undefined, or a sentence that ends with what to install. */
  testbed(): string | undefined
}

const NODE_MIN = 20
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'x86-64',
  arm64: 'arm64, on which interdom was never run',
}

/** The name of a row that stands for a module which a domain of the host lacks. */
export const MODULE_ROW = 'host module'

/** Looks at everything, in the order in which a person would. */
export async function doctorRows(probes: Probes): Promise<DoctorRow[]> {
  return [
    ...nodeRows(probes),
    await nativeRow(probes),
    xenRow(probes),
    ...deviceRows(probes),
    ...limitRows(probes),
    mapCountRow(probes),
    descriptorsRow(probes),
    sealsRow(probes),
    containerRow(probes),
    userRow(probes),
    ...(await hostRows(probes)),
    testbedRow(probes),
    choiceRow(probes),
  ]
}

function nodeRows({ nodeVersion, architecture, osPlatform, libc }: Probes): DoctorRow[] {
  const major = Number(nodeVersion.replace(/^v/, '').split('.')[0])
  const known = ARCHITECTURES[architecture]
  return [
    row('node', 'Node.js', major >= NODE_MIN, nodeVersion, `install Node ${NODE_MIN} or newer`),
    row('node', 'system', osPlatform === 'linux', osPlatform, 'use Linux'),
    row(
      'node',
      'architecture',
      known !== undefined,
      known ?? architecture,
      'use x86-64 (or arm64, untested)',
    ),
    row('node', 'libc', libc !== undefined, libc ?? 'not known', 'use glibc or musl'),
  ]
}

async function nativeRow(probes: Probes): Promise<DoctorRow> {
  const trouble = await probes.native()
  const fix = 'install without --omit=optional: koffi brings its binary as an optional package'
  return row('node', 'native calls', trouble === undefined, trouble ?? 'koffi loads', fix)
}

function xenRow(probes: Probes): DoctorRow {
  const type = probes.readFile('/sys/hypervisor/type')
  const found = 'text' in type ? type.text : 'no hypervisor'
  const fix = 'boot a domain of Xen, or use a host ("interdom host start"), which needs no Xen'
  return row('xen', 'domain of Xen', found === 'xen', found, fix)
}

function deviceRows(probes: Probes): DoctorRow[] {
  return DEVICE_NAMES.map(device => {
    const path = `/dev/xen/${device}`
    const code = probes.access(path)
    const fix =
      code === 'EACCES' || code === 'EPERM'
        ? `run as root, or let uid ${probes.uid} read and write it: a udev rule with MODE="0660"`
        : `in a domain of Xen: modprobe ${MODULES[device]}, and mount devtmpfs on /dev`
    const found = code === undefined ? 'readable and writable' : code
    return row('xen', path, code === undefined, found, fix)
  })
}

function limitRows(probes: Probes): DoctorRow[] {
  return (['gntalloc', 'gntdev'] as const).map(device => {
    const path = `/sys/module/xen_${device}/parameters/limit`
    const read = probes.readFile(path)
    const what = device === 'gntalloc' ? 'pages shared in all' : 'pages a map'
    const found = 'text' in read ? `${read.text} ${what}` : 'module not loaded'
    const fix = `modprobe ${MODULES[device]}; then the limit is in ${path}`
    return row('xen', `${device} limit`, 'text' in read, found, fix)
  })
}

/** Each mapping is one or two of these, and Node needs some thousands for itself. */
function mapCountRow(probes: Probes): DoctorRow {
  const read = probes.readFile('/proc/sys/vm/max_map_count')
  const count = 'text' in read ? Number(read.text) : Number.NaN
  const found = Number.isNaN(count) ? 'not known' : `${count} mappings a process`
  const fix = 'sysctl vm.max_map_count=65530 or more'
  return row('host', 'vm.max_map_count', count >= 65530, found, fix)
}

function descriptorsRow(probes: Probes): DoctorRow {
  const read = probes.readFile('/proc/self/limits')
  const line = 'text' in read ? /^Max open files\s+(\S+)/m.exec(read.text)?.[1] : undefined
  const count = line === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line)
  const found = line === undefined ? 'not known' : `${line} descriptors a process`
  return row('host', 'open files', count >= 1024, found, 'ulimit -n 1024 or more')
}

/** All memory of a host is memfds; neither /dev/shm nor a file system is needed for it. */
function sealsRow(probes: Probes): DoctorRow {
  const trouble = probes.seals()
  const fix = 'use Linux 5.1 or newer, where seccomp or a sandbox allows memfd_create'
  return row('host', 'memfd and seals', trouble === undefined, trouble ?? 'both work', fix)
}

/** Where each of the common containers leaves its mark. */
const CONTAINERS: readonly (readonly [path: string, what: RegExp, name: string])[] = [
  ['/.dockerenv', /^/, 'docker'],
  ['/run/.containerenv', /^/, 'podman'],
  ['/run/systemd/container', /./, 'systemd-nspawn, lxc or the like'],
  ['/proc/1/cgroup', /docker|kubepods|lxc/, 'a container, by its cgroup'],
]

/** No hindrance, but a host and its clients must see the same things. */
function containerRow({ readFile }: Probes): DoctorRow {
  const mark = CONTAINERS.find(([path, what]) => {
    const read = readFile(path)
    return 'text' in read && what.test(read.text)
  })
  const shared = 'clients elsewhere need the same directory, user namespace and kernel'
  return row('host', 'container', true, mark ? `${mark[2]}: ${shared}` : 'none', '')
}

function userRow({ uid }: Probes): DoctorRow {
  const found = uid === 0 ? 'root: may give domains to other users' : `uid ${uid}: all its domains`
  return row('host', 'user', true, found, '')
}

async function hostRows(probes: Probes): Promise<DoctorRow[]> {
  const host = await probes.host()
  const { directory, running, trouble, version, ownVersion, missingModules } = host
  const { pathBytes, pathBytesMax } = host
  const isOurs = version === undefined || version === ownVersion
  const versions = `it speaks ${version}, this program ${ownVersion}`
  const restart = 'interdom host stop, and start it again; or update the older of the two'
  const found = trouble === undefined ? directory : `${directory}: ${trouble}`
  const fix = 'choose another directory with --host, or in INTERDOM_HOST'
  return [
    row('host', 'host directory', trouble === undefined, found, fix),
    row(
      'host',
      'socket paths',
      pathBytes <= pathBytesMax,
      `${pathBytes} of at most ${pathBytesMax} bytes`,
      'choose a shorter directory with --host, or in INTERDOM_HOST',
    ),
    row('host', 'host version', isOurs, version === undefined ? 'none runs' : versions, restart),
    row('host', 'host', running !== undefined, running ?? 'none runs', 'interdom host start'),
    ...missingModules.map(({ domid, module }) => {
      const fix = `interdom host load ${domid} ${module}`
      return row('host', MODULE_ROW, false, `${module} is not loaded in domain ${domid}`, fix)
    }),
  ]
}

function testbedRow(probes: Probes): DoctorRow {
  const lacking = probes.testbed()
  const [found = '', ...rest] = (lacking ?? 'everything is there').split(': ')
  return row('testbed', 'Xen in QEMU', lacking === undefined, found, rest.join(': ') || found)
}

function choiceRow(probes: Probes): DoctorRow {
  const choice = probes.choice()
  const isOk = 'found' in choice
  return row('choice', 'platform', isOk, isOk ? choice.found : 'none', isOk ? '' : choice.trouble)
}

function row(
  group: DoctorRow['group'],
  name: string,
  ok: boolean,
  found: string,
  fix: string,
): DoctorRow {
  return ok ? { group, name, ok, found } : { group, name, ok, found, fix }
}
