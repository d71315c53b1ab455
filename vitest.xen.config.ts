import { defineConfig } from 'vitest/config'

/** `npm run test:xen`: what needs a real hypervisor, which is booted in an emulated machine. */
export default defineConfig({
  test: {
    include: ['test/xen/**/*.xen.ts'],
    globalSetup: ['test/setup/build.ts', 'test/xen/machine.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
})
