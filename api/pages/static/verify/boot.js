// The few lines that a product page loads at once: they offer buttons that need a script, and fetch the verifier when
// that is asked for.
for (const offered of document.querySelectorAll("[data-do]")) {
  offered.hidden = false;
  offered.addEventListener("click", async () => {
    const { title, url, done } = offered.dataset;
    if (offered.dataset.do === "print") print();
    else if (navigator.share) await navigator.share({ title, url }).catch(() => {});
    else {
      await navigator.clipboard.writeText(url);
      offered.textContent = done;
    }
  });
}
const place = document.querySelector("#verify-here");
const button = place.querySelector("button");
place.hidden = false;
button.addEventListener(
  "click",
  () => {
    const script = document.createElement("script");
    Object.assign(script, { type: "module", src: place.dataset.script, integrity: place.dataset.integrity });
    place.querySelector("[role=status]").textContent = place.dataset.busy;
    script.addEventListener("error", () => {
      place.querySelector("[role=status]").textContent = place.dataset.failed;
    });
    document.head.append(script);
  },
  { once: true },
);
