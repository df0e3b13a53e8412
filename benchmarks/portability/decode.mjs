// Runs a decoder with a JavaScript package of onnxruntime: latents in, rows out.
//
// node decode.mjs PACKAGE GRAPH Z LATENT_DIM BATCH OUT
// Z: (N, LATENT_DIM) float32 -> OUT: x_hat of all N; raw arrays, little-endian. Prints versions.
import { readFileSync, writeFileSync } from 'node:fs'

const [packageName, graph, latents, latentDim, batch, out] = process.argv.slice(2)
const ort = await import(packageName)
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(graph)), {
  executionProviders: ['cpu'], // to onnxruntime-web, another word for wasm
})
// Copied, because Node may hand out bytes in the middle of a buffer, where numbers cannot start.
const z = new Float32Array(new Uint8Array(readFileSync(latents)).buffer)
const size = Number(latentDim)
const step = Number(batch) * size
const parts = []
for (let at = 0; at < z.length; at += step) {
  const part = z.subarray(at, Math.min(at + step, z.length))
  const tensor = new ort.Tensor('float32', part, [part.length / size, size])
  const { data } = (await session.run({ z: tensor })).x_hat
  parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice())
}
writeFileSync(out, Buffer.concat(parts))
const { common, ...own } = ort.env.versions // of the package itself, by a name such as "node"
const [onnxruntime] = Object.values(own)
console.log(JSON.stringify({ onnxruntime, on: `${packageName}, Node ${process.versions.node}` }))
