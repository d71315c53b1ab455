/** A block that the test of the documents does not run. */
export interface NotRun {
  readonly document: string
  /** The whole block. */
  readonly code: string
  readonly reason: string
  /** The file that runs it instead, and what shows that it does. */
  readonly ranBy: { readonly file: string; readonly saying: string }
}

/** Keep this short: a block that nobody runs is a block that is wrong one day. */
export const NOT_RUN: readonly NotRun[] = [
  {
    document: 'README.md',
    code: 'npm ci && npx interdom demo',
    reason: 'it installs the packages anew, which this checkout is using',
    ranBy: { file: 'test/docs/fresh-clone.test.ts', saying: "README's first command" },
  },
  {
    document: 'README.md',
    code: 'npm ci && npm test',
    reason: 'this test is a part of it',
    ranBy: { file: '.ci/run', saying: 'README: npm test' },
  },
  {
    document: 'testbed/README.md',
    code: `apt-get install --no-install-recommends qemu-system-x86 xz-utils zstd
npx interdom testbed build
npx interdom testbed run --dom0 'ls -l /dev/xen'
npx interdom testbed run --payload my-program \\
  --dom0 'node /payload/server.mjs' --domu 'node /payload/client.mjs'`,
    reason: 'it installs packages and boots Xen; the tests on Xen build and run the same machine',
    ranBy: { file: '.ci/run', saying: 'vitest.xen.config.ts' },
  },
]
