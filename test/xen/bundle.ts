import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'

/** What the programs in the domains import, below dist/. */
const MODULES = ['index.js', 'abi/errno.js']
/** It starts ten times as often as all others. */
const COMMAND_LINE = 'cli/main.js'
const SUITE = 'conformance/main.js'

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url))

/** For commander, which is no ES module. */
const REQUIRE =
  "import { createRequire as r } from 'node:module'; const require = r(import.meta.url)"

/** What a CommonJS module has instead of `import.meta.url`. */
const HERE = "const here = require('node:url').pathToFileURL(__filename).href"

/** What no shell in a domain of Xen comes to import, and V8 would read with all else. */
const NOT_ON_XEN = /\/(host|testbed)\/|\/(start-host|demo-peer)\.js$/
const leaveOut: Plugin = {
  name: 'leave out',
  setup({ onResolve }) {
    onResolve({ filter: NOT_ON_XEN }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, external: true } : undefined,
    )
  },
}

/**
 * Writes each program of the compiled package as one file, with all that it imports. Node makes
 * some twenty system calls for each of a hundred modules, and these are what costs most on an
 * emulated processor: one file starts in half the time. The command line becomes a CommonJS module,
 * which loads the parts of Node when it gets to use them, where an ES module has all of them first:
 * a shell starts in 2.6 s instead of 3.4 s.
 * @param suite - File for the program of the suite, which is for dom0 alone.
 */
export async function bundlePackage(folder: string, suite: string): Promise<void> {
  const options: BuildOptions = {
    absWorkingDir: DIST,
    bundle: true,
    platform: 'node',
    target: 'node20',
    minifyWhitespace: true,
  }
  const modules: BuildOptions = { ...options, format: 'esm', banner: { js: REQUIRE } }
  const below = { outbase: '.', outdir: folder }
  await build({ ...modules, ...below, entryPoints: MODULES })
  await build({ ...modules, outfile: suite, entryPoints: [SUITE] })
  await build({
    ...options,
    ...below,
    entryPoints: [COMMAND_LINE],
    format: 'cjs',
    banner: { js: HERE },
    define: { 'import.meta.url': 'here' },
    plugins: [leaveOut],
  })
  const path = join(folder, dirname(COMMAND_LINE), 'package.json')
  await writeFile(path, '{ "type": "commonjs" }\n')
}
