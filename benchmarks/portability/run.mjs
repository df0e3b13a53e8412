// Runs a bundle with a JavaScript package of onnxruntime, by what its manifest.json says alone.
//
// node run.mjs PACKAGE BUNDLE ROWS OUT BATCH
// ROWS/<input>.bin -> OUT/z.bin, OUT/<output>.bin, OUT/parts.bin, OUT/scores.bin, and
// ROWS/noise.bin -> OUT/drawn.bin: raw arrays, little-endian as are all machines of Node.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ARRAYS = {
  uint8: Uint8Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
}

const [packageName, bundle, rows, out, batch] = process.argv.slice(2)
const ort = await import(packageName)

const sizeOf = (port) => port.shape.slice(1).reduce((a, b) => a * b, 1) // values in one row

function read(port) {
  // Copied, because Node may hand out bytes in the middle of a buffer, where numbers cannot start.
  return new ARRAYS[port.dtype](new Uint8Array(readFileSync(join(rows, `${port.name}.bin`))).buffer)
}

function slice(port, values, start, end) {
  const size = sizeOf(port)
  const part = values.subarray(start * size, end * size)
  return new ort.Tensor(port.dtype, part, [end - start, ...port.shape.slice(1)])
}

function check(port, tensor, count) {
  const found = `${tensor.type} ${tensor.dims}`
  const wanted = `${port.dtype} ${[count, ...port.shape.slice(1)]}`
  if (found !== wanted) throw new Error(`${port.name} is ${found}, the manifest says ${wanted}`)
}

function concatenate(port, parts) {
  const whole = new ARRAYS[port.dtype](parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

// The outputs of a graph, by name, for all rows of its inputs.
async function run(graph, inputs, given, outputs) {
  const bytes = new Uint8Array(readFileSync(join(bundle, graph)))
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: ['cpu'], // to onnxruntime-web, another word for wasm
  })
  const count = given[inputs[0].name].length / sizeOf(inputs[0])
  const parts = Object.fromEntries(outputs.map((port) => [port.name, []]))
  for (let start = 0; start < count; start += Number(batch)) {
    const end = Math.min(start + Number(batch), count)
    const feeds = inputs.map((port) => [port.name, slice(port, given[port.name], start, end)])
    const found = await session.run(Object.fromEntries(feeds))
    for (const port of outputs) {
      check(port, found[port.name], end - start)
      parts[port.name].push(found[port.name].data)
    }
  }
  return Object.fromEntries(outputs.map((port) => [port.name, concatenate(port, parts[port.name])]))
}

const manifest = JSON.parse(readFileSync(join(bundle, 'manifest.json')))
const latent = { name: 'z', dtype: 'float32', shape: [null, manifest.latent.dim] }
const x = Object.fromEntries(manifest.inputs.map((port) => [port.name, read(port)]))
const z = await run('encoder.onnx', manifest.inputs, x, [latent])
const xHat = await run('decoder.onnx', [latent], z, manifest.outputs)
const rowShape = manifest.columns ? [manifest.columns.length] : manifest.inputs[0].shape.slice(1)
const scored = [
  { name: 'parts', dtype: 'float32', shape: [null, ...rowShape] },
  { name: 'scores', dtype: 'float32', shape: [null, manifest.scores.length] },
]
const all = [...manifest.inputs, latent, ...manifest.outputs]
const scores = await run('scorer.onnx', all, { ...x, ...z, ...xHat }, scored)
const noise = { name: 'noise', dtype: 'float32', shape: [null, manifest.sampler.noise_dim] }
const drawn = await run('sampler.onnx', [noise], { noise: read(noise) }, [latent])
for (const [name, values] of Object.entries({ ...z, ...xHat, ...scores, drawn: drawn.z })) {
  writeFileSync(join(out, `${name}.bin`), values)
}
const { common, ...own } = ort.env.versions // of the package itself, by a name such as "node"
const [version] = Object.values(own)
const on = `${packageName}, Node ${process.versions.node}`
console.log(JSON.stringify({ onnxruntime: version, on }))
