import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'

/** Everything that QEMU's command line depends on. */
export interface Machine {
  /** Folder with `xen.elf`, `vmlinux` and `root.cpio`; QEMU runs in it. */
  images: string
  /** The folder that dom0 has as /host. */
  host: string
  /** Archive for /payload. */
  payload: string | undefined
  /** File for what Xen and dom0's kernel say. */
  console: string
  /** Megabytes of dom0. */
  dom0Memory: number
  /** Megabytes of all guests together. */
  guestMemory: number
  kernelArgs: string
  xenArgs: string
}

/** How the machine starts: at its beginning, so that it can be saved, or from a saved state. */
export type Start = 'boot' | 'save' | { snapshot: string }

/** File in the host's folder for QEMU's own messages. */
export const qemuLog = 'qemu.log'
export const emulator = 'qemu-system-x86_64'

/**
 * Without -smap, dom0's kernel dies at once (QEMU's emulation of it does not go with the frames
 * that Xen makes in a guest). Without -xsave, processes die now and then as soon as two domains
 * share a CPU. With erms, Linux and glibc clear and copy memory by `rep stosb` and `rep movsb`,
 * of which QEMU emulates each byte by itself: a copy takes three times as long.
 */
const cpu = 'max,-smap,-xsave,-erms'
/** An emulated processor speculates nothing, but pays for each retpoline and each fence. */
const xenUnmitigated = 'spec-ctrl=no'
/** The same for Linux, in dom0 and in the guests. */
export const unmitigated = 'mitigations=off'
/**
 * Linux reads the time stamp counter in user space; otherwise each look at the clock is a system
 * call, at which an emulated processor forgets all that it knows of the page tables. As QEMU keeps
 * the counter going in a restored machine, the kernel need not doubt it.
 */
export const steadyClock = 'clocksource=tsc tsc=reliable'
/** Xen itself, its heap and the frames of grant tables. */
const xenMemory = 192

/** The arguments for QEMU: Xen as a multiboot kernel, dom0's kernel and files as its modules. */
export function qemuArguments(machine: Machine, start: Start = 'boot'): string[] {
  const { dom0Memory } = machine
  const xen = words(
    `dom0_mem=${dom0Memory}M,max:${dom0Memory}M dom0_max_vcpus=1`,
    // Cleaning all memory at boot would occupy the second CPU while dom0 starts.
    'bootscrub=0 com1=115200,8n1 console=com1',
    xenUnmitigated,
    machine.xenArgs,
  )
  const kernel = words(
    'vmlinux console=hvc0 quiet interdom.testbed=dom0',
    unmitigated,
    steadyClock,
    machine.kernelArgs,
  )
  return [
    ...['-accel', 'tcg,thread=multi', '-cpu', cpu, '-smp', '2'],
    ...['-m', `${dom0Memory + machine.guestMemory + xenMemory}`],
    ...['-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-kernel', 'xen.elf', '-append', xen, '-initrd', `${doubled(kernel)},root.cpio`],
    '-virtfs',
    `local,path=${doubled(machine.host)},mount_tag=host,security_model=none,multidevs=remap`,
    ...disk('vmlinux', 'vmlinux'),
    ...disk('root.cpio', 'root.cpio'),
    ...(machine.payload === undefined ? [] : disk('payload', machine.payload)),
    ...consoleArguments(machine, start),
  ]
}

function consoleArguments(machine: Machine, start: Start): string[] {
  const path = doubled(machine.console)
  const serial = ['-serial', 'chardev:console']
  if (typeof start === 'string') {
    const monitor = start === 'save' ? ['-qmp', 'stdio'] : ['-monitor', 'none']
    return [...monitor, '-chardev', `file,id=console,path=${path}`, ...serial]
  }
  // dom0 waits for a line on its console, to know that it goes on in another QEMU.
  const console = ['-chardev', `stdio,id=console,signal=off,logfile=${path}`, ...serial]
  return ['-monitor', 'none', ...console, '-incoming', `exec:cat ${start.snapshot}`]
}

/**
 * Starts QEMU below coreutils' timeout, which ends it even when this process is gone by then;
 * hence its limit is a little later than ours.
 */
export function startQemu(machine: Machine, seconds: number, start: Start): ChildProcess {
  const errors = openSync(join(machine.host, qemuLog), 'w')
  try {
    const limit = ['--foreground', '--kill-after=5', `${seconds + 15}`]
    return spawn('timeout', [...limit, emulator, ...qemuArguments(machine, start)], {
      cwd: machine.images,
      stdio: start === 'boot' ? ['ignore', errors, errors] : ['pipe', 'pipe', errors],
    })
  } finally {
    closeSync(errors)
  }
}

/** Waits for the end of a process, whatever it is. */
export async function ended(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', () => resolve())
  })
}

/** A read-only disk that dom0 finds by its serial number. */
function disk(serial: string, path: string): string[] {
  const drive = `if=none,id=${serial},file=${doubled(path)},format=raw,readonly=on`
  return ['-drive', drive, '-device', `virtio-blk-pci,drive=${serial},serial=${serial}`]
}

/** QEMU separates options by commas and takes a doubled one for itself. */
function doubled(text: string): string {
  return text.replaceAll(',', ',,')
}

function words(...parts: string[]): string {
  return parts.filter(part => part !== '').join(' ')
}
