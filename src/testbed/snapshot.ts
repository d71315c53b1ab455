import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { consoleTail } from './console-tail.ts'
import { TestbedError } from './failure.ts'
import { Follower } from './follower.ts'
import { guestConfiguration, type Job, prepareJob, readJob, snapshotMark, writeJob } from './job.ts'
import { pollMilliseconds } from './limits.ts'
import { withLock } from './lock.ts'
import { execute } from './process.ts'
import { emulator, ended, type Machine, qemuArguments, startQemu } from './qemu.ts'
import { Qmp } from './qmp.ts'

export interface SnapshotOptions {
  seconds: number
  signal: AbortSignal | undefined
  onStep: (text: string) => void
}

const day = 24 * 60 * 60 * 1000
/** What dom0 says when it and its guests are up and wait. */
const readyText = 'snapshot may be taken'

/**
 * The file, in the images' folder, with the state of such a machine after its boot. Takes it first
 * when there is none. It lies with the images, so it goes when they go.
 */
export async function snapshotFor(
  machine: Machine,
  job: Job,
  options: SnapshotOptions,
): Promise<string> {
  const file = `snapshot-${await snapshotKey(machine, job)}`
  const path = join(machine.images, file)
  if (existsSync(path)) {
    const now = new Date()
    await utimes(path, now, now)
    return file
  }
  await withLock(join(machine.images, 'snapshot.lock'), async () => {
    if (existsSync(path)) return
    options.onStep('taking a snapshot of the machine after its boot')
    // What the boot wrote is removed once it has worked; a failure names it.
    const host = join(machine.host, 'snapshot')
    await rm(host, { recursive: true, force: true })
    await mkdir(host)
    try {
      await prepareJob(host)
      await writeJob(host, { ...job, commands: new Map() })
      await writeFile(snapshotMark(host), '')
      const boot = { ...machine, host, console: join(host, 'console.log') }
      await take(boot, `${file}.unfinished`, options)
      await prune(machine.images)
      await rename(`${path}.unfinished`, path)
      await rm(host, { recursive: true })
    } finally {
      await rm(`${path}.unfinished`, { force: true })
    }
  })
  return file
}

/** All that the state depends on: the devices, the guests, and QEMU itself. */
async function snapshotKey(machine: Machine, job: Job): Promise<string> {
  const places = { host: '', console: '', payload: '' }
  const args = qemuArguments({ ...machine, ...places }, 'save')
  const version = (await execute(emulator, ['--version'])).toString()
  const guests = [job.guests, guestConfiguration('domu1', job)]
  // dom0 has read the size of its disk.
  const size = machine.payload === undefined ? 0 : statSync(machine.payload).size
  const inputs = JSON.stringify([args, version, guests, size])
  return createHash('sha256').update(inputs).digest('hex').slice(0, 16)
}

/** Removes snapshots out of use for a day: they are as large as the machine's memory. */
async function prune(images: string): Promise<void> {
  for (const name of await readdir(images)) {
    if (!/^snapshot-[0-9a-f]+$/.test(name)) continue
    const { mtimeMs } = await stat(join(images, name))
    if (Date.now() - mtimeMs > day) await rm(join(images, name))
  }
}

async function take(machine: Machine, file: string, options: SnapshotOptions): Promise<void> {
  const child = startQemu(machine, options.seconds, 'save')
  const end = ended(child)
  const stop = (): void => void child.kill('SIGTERM')
  options.signal?.addEventListener('abort', stop)
  process.once('exit', stop)
  let ready = false
  const follower = new Follower(machine.console, line => {
    ready ||= line.includes(readyText)
  })
  try {
    const qmp = new Qmp(child.stdout as Readable, child.stdin as Writable)
    await qmp.command('qmp_capabilities')
    while (!ready) {
      await delay(pollMilliseconds)
      // Rejects when QEMU has ended, with what it was waited for.
      await qmp.command('query-status')
      follower.poll()
    }
    await qmp.command('migrate-set-parameters', { 'max-bandwidth': 10_000_000_000 })
    await qmp.command('migrate', { uri: `exec:cat >${file}` })
    let status = 'active'
    while (status !== 'completed') {
      if (status === 'failed' || status === 'cancelled') throw new Error(`migration ${status}`)
      await delay(pollMilliseconds)
      const info = (await qmp.command('query-migrate')) as { status?: string }
      status = info.status ?? status
    }
    await qmp.command('quit').catch(() => undefined)
  } catch (cause) {
    options.signal?.throwIfAborted()
    const said = cause instanceof Error ? cause.message : String(cause)
    // QEMU's end is not the reason when dom0 has given one.
    const text = `no snapshot could be taken: ${readJob(machine.host).failure?.reason ?? said}`
    throw new TestbedError('ERR_TESTBED_SETUP', `${text}\n${consoleTail(machine)}`, { cause })
  } finally {
    stop()
    await end
    follower.finish()
    process.removeListener('exit', stop)
    options.signal?.removeEventListener('abort', stop)
  }
}
