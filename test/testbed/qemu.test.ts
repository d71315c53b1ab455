import { describe, expect, test } from 'vitest'
import {
  type Machine,
  qemuArguments,
  type Start,
  steadyClock,
  unmitigated,
} from '../../src/testbed/qemu.ts'

const machine: Machine = {
  images: '/cache/images/a',
  host: '/tmp/out',
  payload: undefined,
  console: '/tmp/out/console.log',
  dom0Memory: 512,
  guestMemory: 800,
  kernelArgs: '',
  xenArgs: '',
}

/** The values of an option, in order. */
function values(option: string, changes: Partial<Machine> = {}): string[] {
  const args = qemuArguments({ ...machine, ...changes })
  return args.filter((_, index) => args[index - 1] === option)
}

describe('the command line for QEMU', () => {
  test('starts Xen with dom0 in its modules', () => {
    expect(values('-kernel')).toEqual(['xen.elf'])
    expect(values('-append')).toEqual([
      'dom0_mem=512M,max:512M dom0_max_vcpus=1 bootscrub=0 com1=115200,8n1 console=com1 spec-ctrl=no',
    ])
    expect(values('-initrd')).toEqual([
      `vmlinux console=hvc0 quiet interdom.testbed=dom0 ${unmitigated} ${steadyClock},root.cpio`,
    ])
  })

  test('has a processor without what its emulation gets wrong or makes slow', () => {
    expect(values('-cpu')).toEqual(['max,-smap,-xsave,-erms'])
  })

  test('has memory for Xen, dom0 and the guests', () => {
    expect(values('-m')).toEqual(['1504'])
  })

  test('ends when the machine restarts', () => {
    expect(qemuArguments(machine)).toContain('-no-reboot')
  })

  test('doubles the commas of arguments and paths', () => {
    const changes = { kernelArgs: 'a=1,2', host: '/tmp/o,ut', console: '/tmp/o,ut/console.log' }
    expect(values('-initrd', changes)[0]).toMatch(/ a=1,,2,root\.cpio$/)
    expect(values('-virtfs', changes)[0]).toContain('path=/tmp/o,,ut,')
    expect(values('-chardev', changes)[0]).toContain('path=/tmp/o,,ut/console.log')
  })

  test("adds words to the end of Xen's command line", () => {
    expect(values('-append', { xenArgs: 'gnttab_max_frames=8' })[0]).toMatch(
      / console=com1 .*gnttab_max_frames=8$/,
    )
  })

  test('has a disk for the payload only when there is one', () => {
    const names = (payload: string | undefined): string[] =>
      values('-device', { payload }).map(value => value.split('serial=')[1] ?? '')
    expect(names(undefined)).toEqual(['vmlinux', 'root.cpio'])
    expect(names('/tmp/payload.tar')).toEqual(['vmlinux', 'root.cpio', 'payload'])
  })

  test('has one console, and a monitor only to be saved by', () => {
    const options = (start: Start): string[] =>
      qemuArguments(machine, start).filter(arg => /^-(monitor|qmp|incoming|chardev)$/.test(arg))
    expect(options('boot')).toEqual(['-monitor', '-chardev'])
    expect(options('save')).toEqual(['-qmp', '-chardev'])
    expect(options({ snapshot: 'file' })).toEqual(['-monitor', '-chardev', '-incoming'])
  })

  test('has the same devices whether it is to be saved or was', () => {
    const devices = (start: Start): string[] => {
      const args = qemuArguments(machine, start)
      return args.filter((_, index) =>
        /^-(device|virtfs|serial|m|cpu)$/.test(args[index - 1] ?? ''),
      )
    }
    expect(devices({ snapshot: 'file' })).toEqual(devices('save'))
  })

  test('writes to no disk', () => {
    for (const drive of values('-drive')) expect(drive).toMatch(/,readonly=on$/)
  })
})
