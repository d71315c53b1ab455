import { describe, expect, test } from 'vitest'
import { PAGE_SIZE } from '../../src/abi/page.ts'
import { MapMirror } from '../../src/host/grant-mirror.ts'

describe('what a client knows of its maps', () => {
  test('a map can go in silence as it was booked, and only whole', () => {
    const maps = new MapMirror()
    const index = maps.book(2)
    expect(maps.isSilent(index, 2)).toBe(true)
    expect(maps.isSilent(index, 1)).toBe(false)
    expect(maps.isSilent(index + PAGE_SIZE, 1)).toBe(false)
  })

  test('a map whose end others see cannot, wherever in it that was learnt', () => {
    const maps = new MapMirror()
    const [one, other, third] = [maps.book(3), maps.book(2), maps.book(1)]
    maps.seen(one + 2 * PAGE_SIZE)
    maps.seen(other)
    expect(maps.isSilent(one, 3)).toBe(false)
    expect(maps.isSilent(other, 2)).toBe(false)
    expect(maps.isSilent(third, 1)).toBe(true)
  })

  test('a place that is booked again is a new map', () => {
    const maps = new MapMirror()
    const index = maps.book(1)
    maps.seen(index)
    maps.unbooked(index)
    expect(maps.book(1)).toBe(index)
    expect(maps.isSilent(index, 1)).toBe(true)
  })
})
