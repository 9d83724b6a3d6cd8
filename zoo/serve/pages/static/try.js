// Sends an image that was chosen or dropped, and shows the answer of the page without a reload.
"use strict";
const form = document.getElementById("try-form"), told = document.getElementById("told");
const input = document.getElementById("image"), most = Number(form.dataset.most);

function tell(text, wrong) {
  told.className = wrong ? "error" : "";
  told.textContent = text;
}

async function send() {
  if (form.getAttribute("aria-busy") === "true" || !form.reportValidity()) return;
  if (input.files[0].size > most) return tell(`It has ${input.files[0].size} bytes; the most are ${most}.`, true);
  form.setAttribute("aria-busy", "true");
  tell("Asking …");
  try {
    const sent = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await sent.text(), "text/html");
    const answer = page.getElementById("answer"), wrong = page.querySelector("main .error");
    if (!answer || wrong) throw new Error(wrong ? wrong.textContent : page.querySelector("main").textContent.trim());
    document.getElementById("answer").replaceWith(document.adoptNode(answer));
    tell(`Answered: ${document.getElementById("says").textContent}`);
  } catch (error) {
    document.getElementById("answer").replaceChildren();
    tell(error.message, true);
  } finally {
    form.removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
input.addEventListener("change", () => input.files.length && send());
form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  input.files = event.dataTransfer.files;
  send();
});
document.getElementById("dropped").hidden = false;
