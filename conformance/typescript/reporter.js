// Prints each test as it ends, failures with their reason, and at the end the one line that ./test reads.
import { inspect } from 'node:util';

export default async function* report(source) {
  let passed = 0;
  let failed = 0;
  for await (const { type, data } of source) {
    if (type === 'test:stdout' || type === 'test:stderr') yield data.message;
    const ended = type === 'test:pass' || type === 'test:fail';
    if (!ended || data.details?.type === 'suite') continue;
    if (type === 'test:pass') {
      passed += 1;
      yield `  ok      ${data.name}\n`;
    } else {
      failed += 1;
      yield `  FAILED  ${data.name} (${data.file}:${data.line})\n`;
      yield inspect(data.details.error?.cause ?? data.details.error, { depth: 6 }).replace(/^/gm, '          ') + '\n';
    }
  }
  yield `${passed} passed, ${failed} failed\n`;
}
