/** Packs the package as it would be published and asks publint and attw whether it can be used. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'interdom-pack-'))
const run = (program, ...words) => execFileSync(program, words, { stdio: 'inherit' })
try {
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
    encoding: 'utf8',
  })
  const [{ filename }] = JSON.parse(packed.slice(packed.indexOf('[\n')))
  const tarball = join(folder, filename)
  run('node_modules/.bin/publint', 'run', tarball, '--strict')
  run('node_modules/.bin/attw', tarball, '--profile', 'esm-only')
} finally {
  rmSync(folder, { recursive: true, force: true })
}
