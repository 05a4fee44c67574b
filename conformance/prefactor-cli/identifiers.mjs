// What Prefactor's own library says about identifiers: reads a JSON array of strings, writes for each its partition, or
// null where it is none, and an identifier that it would put beside the first.

import { readFileSync } from 'node:fs';
import { decode, encode, extractPartition, generateRelated, isPfid } from '@prefactor/pfid';

const identifiers = JSON.parse(readFileSync(0, 'utf8'));
const partitions = identifiers.map((one) => (isPfid(one) && encode(decode(one)) === one ? extractPartition(one) : null));
console.log(JSON.stringify({ partitions, related: generateRelated(identifiers[0]) }));
