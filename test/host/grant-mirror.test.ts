import { describe, expect, test } from 'vitest'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { MapMirror } from '../../src/host/grant-mirror.ts'

describe('what a client knows of its maps', () => {
  test('a map ends quietly as it was booked, and only whole', () => {
    const maps = new MapMirror()
    const index = maps.book(2)
    expect(maps.endsQuietly(index, 2)).toBe(true)
    expect(maps.endsQuietly(index, 1)).toBe(false)
    expect(maps.endsQuietly(index + PAGE_SIZE, 1)).toBe(false)
  })

  test('a map with a notification does not, wherever in it that is', () => {
    const maps = new MapMirror()
    const [one, other, third] = [maps.book(3), maps.book(2), maps.book(1)]
    maps.armed(one + 2 * PAGE_SIZE)
    maps.armed(other)
    expect(maps.endsQuietly(one, 3)).toBe(false)
    expect(maps.endsQuietly(other, 2)).toBe(false)
    expect(maps.endsQuietly(third, 1)).toBe(true)
  })

  test('no map does when the descriptor is closed, and a mapping may be what holds them all', () => {
    const maps = new MapMirror()
    const index = maps.book(1)
    maps.closed()
    expect(maps.endsQuietly(index, 1)).toBe(false)
  })

  test('a place that is booked again is a new map', () => {
    const maps = new MapMirror()
    const index = maps.book(1)
    maps.armed(index)
    maps.unbooked(index)
    expect(maps.book(1)).toBe(index)
    expect(maps.endsQuietly(index, 1)).toBe(true)
  })
})
