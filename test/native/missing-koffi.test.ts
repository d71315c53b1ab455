import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A copy of our compiled code beside a koffi of the caller's making. */
function installation(koffi: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'interdom-koffi-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  for (const room of ['abi', 'native']) {
    cpSync(join(root, 'dist', room), join(directory, room), { recursive: true })
  }
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  mkdirSync(join(directory, 'node_modules/koffi'), { recursive: true })
  writeFileSync(join(directory, 'node_modules/koffi/index.js'), koffi)
  return directory
}

test('without the native module of koffi the error says what is missing and what to do', () => {
  const directory = installation("throw new Error('Cannot find the native Koffi module')")
  const program = `
    import { getDescriptorLimit } from './native/libc.js'
    try { getDescriptorLimit() }
    catch (error) { console.log(error.message, '|', error.cause.message) }
  `
  const arguments_ = ['--input-type=module', '-e', program]
  const options = { cwd: directory, encoding: 'utf8' } as const
  const stdout = execFileSync(process.execPath, arguments_, options)
  expect(stdout).toContain(`@koromix/koffi-${process.platform}-${process.arch}`)
  expect(stdout).toContain('--omit=optional')
  expect(stdout).toContain('| Cannot find the native Koffi module')
})
