import fc from 'fast-check'

// What a property failed of belongs in the message: reports of runs keep nothing else.
fc.configureGlobal({ includeErrorInReport: true })

/** fast-check, as every test of a property has it. */
export { fc }
