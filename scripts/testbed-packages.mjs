/** Prints the Debian packages that the test bed needs, for `.ci/run`. */
import { testbedPackages } from '../dist/testbed/tools.js'

console.log(testbedPackages.join(' '))
