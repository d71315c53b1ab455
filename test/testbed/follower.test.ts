import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Follower } from '../../src/testbed/follower.ts'

describe('following a file', () => {
  let folder: string
  let path: string
  let lines: string[]
  let follower: Follower

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'interdom-follower-'))
    path = join(folder, 'file')
    lines = []
    follower = new Follower(path, line => lines.push(line))
  })
  afterEach(() => {
    follower.finish()
    rmSync(folder, { recursive: true })
  })

  test('that is not there yet tells nothing', () => {
    follower.poll()
    expect(lines).toEqual([])
    follower.finish()
    expect(follower.text).toBe('')
  })

  test('tells a line once it is complete', () => {
    appendFileSync(path, 'one\ntw')
    follower.poll()
    expect(lines).toEqual(['one'])
    appendFileSync(path, 'o\n\n')
    follower.poll()
    expect(lines).toEqual(['one', 'two', ''])
  })

  test('tells an unfinished line at the end, and keeps the text as it is', () => {
    appendFileSync(path, 'no newline')
    follower.finish()
    expect(lines).toEqual(['no newline'])
    expect(follower.text).toBe('no newline')
  })

  test('joins a character that comes in two pieces', () => {
    const bytes = Buffer.from('grün\n')
    appendFileSync(path, bytes.subarray(0, 3))
    follower.poll()
    appendFileSync(path, bytes.subarray(3))
    follower.poll()
    expect(lines).toEqual(['grün'])
  })

  test('reads more than fits into one piece', () => {
    appendFileSync(path, `${'x'.repeat(200_000)}\n`)
    follower.poll()
    expect(lines.map(line => line.length)).toEqual([200_000])
  })
})
