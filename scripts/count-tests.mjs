/**
 * `count-tests DIRECTORY FAILED-STEPS`: adds up vitest's JSON reports, says what failed and
 * why, and ends with the line that is read of a run. Exit 1 when a test or a step failed.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [directory, failedSteps] = process.argv.slice(2)
let passed = 0
let failed = Number(failedSteps)
for (const name of readdirSync(directory)) {
  const report = JSON.parse(readFileSync(join(directory, name), 'utf8'))
  passed += report.numPassedTests
  failed += report.numFailedTests
  for (const file of report.testResults) {
    for (const test of file.assertionResults) {
      if (test.status !== 'failed') continue
      console.log(`failed (${name}): ${test.fullName}`)
      for (const message of test.failureMessages) console.log(message.replaceAll(/^/gm, '  '))
    }
  }
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
