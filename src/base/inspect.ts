import { inspect } from 'node:util'

/**
 * Lets console.log and util.inspect show the objects of a class as its `toString` does, and not
 * their innards. Called from a static block of the class: a method named by `inspect.custom` is
 * no name that a declaration file could have without inferring.
 */
export function inspectAsText(prototype: { toString(): string }): void {
  Object.defineProperty(prototype, inspect.custom, {
    value(this: { toString(): string }) {
      return this.toString()
    },
  })
}
