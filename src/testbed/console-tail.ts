import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { consoleTailLines } from './limits.ts'
import { type Machine, qemuLog } from './qemu.ts'

/** The last that the machine and QEMU said, for the message of a failure. */
export function consoleTail(machine: Machine): string {
  const texts = [machine.console, join(machine.host, qemuLog)].map(path => {
    try {
      return readFileSync(path, 'utf8').replaceAll('\r', '').trimEnd()
    } catch {
      return ''
    }
  })
  const lines = texts
    .filter(text => text !== '')
    .join('\n')
    .split('\n')
  const tail = lines.slice(-consoleTailLines).map(line => `  ${line}`)
  return `The end of its console (all of it: ${machine.console}):\n${tail.join('\n')}`
}
