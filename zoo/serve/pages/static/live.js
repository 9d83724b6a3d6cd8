// Shows what a run has noted as the server draws it, and the whole page anew when it has ended.
const live = document.getElementById("live");
const source = new EventSource(live.dataset.events);
source.addEventListener("run", (event) => { live.innerHTML = event.data; });
source.addEventListener("end", () => { source.close(); location.reload(); });
