import { buildDeviceCode, provideDeviceCompiler } from './src/cli/setup/device_code.js';
const home = '/tmp/kit/home/tensorflow';
const { compiler } = await provideDeviceCompiler(home);
await buildDeviceCode({ home, compiler, packageRoot: '/tmp/kit/package' }, ['sm_90a'], console.log);
