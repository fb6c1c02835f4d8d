// The few lines that a product page loads at once: they offer the button, and fetch the verifier when it is pressed.
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
