import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { DEVICE_NAMES, ioctlName } from '../src/abi/devices.ts'
import { ERRNO } from '../src/abi/errno.ts'
import * as evtchn from '../src/abi/evtchn.ts'
import * as gntalloc from '../src/abi/gntalloc.ts'
import * as gntdev from '../src/abi/gntdev.ts'
import { fixFor, REFUSALS } from '../src/refusals.ts'

const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')

describe('the table of errors', () => {
  test('in docs/errors.md is the one in the code', () => {
    const [, table = ''] = page.split('| operation | call | code | cause | what to do |\n')
    const rows = table
      .split('\n\n')[0]!
      .split('\n')
      .slice(1)
      .map(line => line.slice(2, -2).split(' | '))
    const wanted = REFUSALS.map(({ operation, syscall, code, cause, fix }) => {
      return [operation, syscall, code, cause, fix]
    })
    expect(rows).toEqual(wanted)
  })

  test('has one row for each code of each call of an operation', () => {
    const keys = REFUSALS.map(({ operation, syscall, code }) => `${operation} ${syscall} ${code}`)
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('names calls and codes that there are', () => {
    const numbers = [evtchn, gntalloc, gntdev].flatMap(abi =>
      Object.values(abi).filter(value => typeof value === 'number'),
    )
    const calls = DEVICE_NAMES.flatMap(device => [
      `mmap ${device}`,
      ...numbers.map(number => `ioctl ${ioctlName(device, number)}`),
    ])
    for (const { syscall, code } of REFUSALS) {
      expect(['any', 'open', ...calls]).toContain(syscall)
      expect(ERRNO).toHaveProperty(code)
    }
  })

  test('gives an error its cure where the platform has none', () => {
    expect(fixFor('ioctl EVTCHN_BIND_VIRQ', 'EBUSY')).toMatch(/^run in the domain/)
    expect(fixFor('open gntdev', 'ENOENT')).toMatch(/modprobe/)
    expect(fixFor('mmap gntalloc', 'EHOSTDOWN')).toMatch(/interdom host start/)
    expect(fixFor('mmap gntalloc', 'EINVAL')).toBeUndefined()
  })
})
