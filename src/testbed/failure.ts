/**
 * Exit codes of the machine itself. They stay clear of what commands and shells use: a command's
 * own code is passed on as it is.
 */
export const exitCodes = {
  /** Wrong use of the command line. */
  usage: 2,
  /** A tool, a package or an input is missing, so nothing could be built or started. */
  unavailable: 120,
  /** Xen or a guest could not be set up. */
  setup: 121,
  /** A guest was made and did not get ready. */
  guest: 122,
  /** The machine stopped before the commands were done. */
  stopped: 123,
  /** The time ran out. */
  timeout: 124,
} as const

export type TestbedErrorCode =
  | 'ERR_TESTBED_TOOLS'
  | 'ERR_TESTBED_PACKAGES'
  | 'ERR_TESTBED_IMAGE'
  | 'ERR_TESTBED_SETUP'
  | 'ERR_TESTBED_GUEST'
  | 'ERR_TESTBED_STOPPED'
  | 'ERR_TESTBED_TIMEOUT'

/** What the test bed throws or reports when it is the machine that failed, not a command. */
export class TestbedError extends Error {
  override readonly name: string = 'TestbedError'
  readonly code: TestbedErrorCode
  readonly exitCode: number

  constructor(code: TestbedErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.exitCode = exitCodeOf[code]
  }
}

const exitCodeOf: Record<TestbedErrorCode, number> = {
  ERR_TESTBED_TOOLS: exitCodes.unavailable,
  ERR_TESTBED_PACKAGES: exitCodes.unavailable,
  ERR_TESTBED_IMAGE: exitCodes.unavailable,
  ERR_TESTBED_SETUP: exitCodes.setup,
  ERR_TESTBED_GUEST: exitCodes.guest,
  ERR_TESTBED_STOPPED: exitCodes.stopped,
  ERR_TESTBED_TIMEOUT: exitCodes.timeout,
}
