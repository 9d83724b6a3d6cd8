// Reads the header of a safetensors file that was chosen or dropped, has workers hash its tensors,
// and sends the form with what they found: names, shapes, dtypes and hashes, and no weights.
"use strict";
const form = document.getElementById("keys"), drop = document.getElementById("drop");
const input = document.getElementById("file"), bar = document.getElementById("progress");
const told = document.getElementById("told");
const BITS = JSON.parse(form.dataset.bits), most = (name) => Number(form.dataset[name]);
const WORKERS = Math.min(navigator.hardwareConcurrency || 2, 4);

function check(fine, text) {
  if (!fine) throw new Error(text);
}

async function header(file) {
  const first = await file.slice(0, 9).arrayBuffer();
  check(file.size > 8 && new Uint8Array(first)[8] === 0x7b,
    "this is no safetensors file; any other kind goes by the command below");
  const length = Number(new DataView(first).getBigUint64(0, true));
  check(length <= most("header"), `its header has ${length} bytes; the most are ${most("header")}`);
  check(8 + length <= file.size, "it ends within its header");
  const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.slice(8, 8 + length).arrayBuffer());
  const { __metadata__: _, ...tensors } = JSON.parse(text);
  const found = Object.entries(tensors).map(([name, one]) => entry(name, one, 8 + length, file.size));
  check(found.length > 0, "it has no tensors");
  check(found.length <= most("tensors"), `it has ${found.length} tensors; the most are ${most("tensors")}`);
  return found;
}

function entry(name, one, base, size) {
  const { dtype, shape, data_offsets: offsets } = one ?? {};
  const whole = (each) => Number.isSafeInteger(each) && each >= 0;
  check(Object.hasOwn(BITS, dtype) && Array.isArray(shape) && shape.length <= most("dimensions") &&
    shape.every(whole) && Array.isArray(offsets) && offsets.length === 2 && offsets.every(whole),
    `tensor ${name.slice(0, 100)} is not described as the format asks`);
  const [begin, end] = offsets, bits = shape.reduce((all, each) => all * each, BITS[dtype]);
  check(end - begin === bits / 8 && base + end <= size,
    `tensor ${name.slice(0, 100)} does not have the bytes that its shape needs`);
  return { name, dtype, shape, begin: base + begin, end: base + end };
}

// The largest first, so that no worker is left with one at the end.
function hashed(file, tensors, moved) {
  const left = [...tensors].sort((a, b) => (a.end - a.begin) - (b.end - b.begin)), found = [];
  return new Promise((done, failed) => {
    const workers = Array.from({ length: Math.min(WORKERS, left.length) }, () => new Worker(form.dataset.worker));
    const next = (worker) => left.length && worker.postMessage({ file, ...left.pop() });
    for (const worker of workers) {
      worker.onerror = (event) => failed(new Error(event.message || "the file cannot be read"));
      worker.onmessage = ({ data }) => {
        if (data.read) moved(data.read);
        if (!data.tensor) return;
        found.push(data.tensor);
        if (found.length < tensors.length) return next(worker);
        workers.forEach((each) => each.terminate());
        done(found);
      };
      next(worker);
    }
  });
}

async function identify(file) {
  if (drop.getAttribute("aria-busy") === "true") return;
  drop.setAttribute("aria-busy", "true");
  told.className = "";
  try {
    told.textContent = `Reading ${file.name} …`;
    const tensors = await header(file), began = performance.now();
    bar.max = tensors.reduce((all, each) => all + each.end - each.begin, 0) || 1;
    bar.value = 0;
    bar.hidden = false;
    const found = await hashed(file, tensors, (bytes) => { bar.value += bytes; });
    const seconds = (performance.now() - began) / 1000;
    told.textContent = `${tensors.length} tensors hashed in ${seconds.toFixed(1)} s; asking …`;
    const asked = JSON.stringify({ zoo_keys: 1, tensors: found });
    const sent = new URLSearchParams({ file: file.name, keys: asked }).toString().length;
    check(sent <= most("request"), `its keys take ${sent} bytes; the most are ${most("request")}`);
    form.elements.file.value = file.name;
    form.elements.keys.value = asked;
    form.submit();
  } catch (error) {
    told.className = "error";
    told.textContent = `${file.name}: ${error.message}`;
    bar.hidden = true;
  } finally {
    drop.removeAttribute("aria-busy");
  }
}

input.addEventListener("change", () => input.files.length && identify(input.files[0]));
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) identify(event.dataTransfer.files[0]);
});
drop.hidden = false;
