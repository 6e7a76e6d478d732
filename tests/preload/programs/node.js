// SPDX-License-Identifier: MIT
// Buffers (malloc behind them), zlib, worker threads that hand memory over, JSON.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const zlib = require('zlib');
const crypto = require('crypto');

function work(seed) {
  let x = seed;
  const hash = crypto.createHash('sha256');
  const kept = [];
  for (let i = 0; i < 6000; i++) {
    x = (x * 69069 + 12345) % 4294967296;
    const b = Buffer.alloc(x % 20000, 'ab' + i);
    kept[x % 500] = b;
    if (i % 20 === 0) hash.update(zlib.inflateSync(zlib.deflateSync(b)));
  }
  const rows = [];
  for (let i = 0; i < 20000; i++)
    rows.push({ i, name: 'n' + (i * 7 % 1000), list: [i, i + 1] });
  hash.update(JSON.stringify(JSON.parse(JSON.stringify(rows))));
  for (const b of kept) if (b) hash.update(b);
  return hash.digest('hex');
}

if (isMainThread) {
  const results = [];
  let left = 3;
  for (let n = 0; n < 3; n++) {
    const worker = new Worker(__filename, { workerData: n + 1 });
    worker.on('message', (m) => { results[n] = m.digest + ' ' + m.buffer.byteLength; });
    worker.on('exit', (code) => {
      results[n] += ' ' + code;
      if (--left === 0) console.log(work(9) + '\n' + results.join('\n'));
    });
  }
} else {
  const buffer = new ArrayBuffer(5000000);
  parentPort.postMessage({ digest: work(workerData), buffer }, [buffer]);
}
