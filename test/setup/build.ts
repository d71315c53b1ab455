import { execFileSync } from 'node:child_process'

/** Compiles `src` to `dist` once before the tests: child processes run what users run. */
export default function build(): void {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
    stdio: 'inherit',
  })
}
