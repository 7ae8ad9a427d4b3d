import { readConfig } from "./config";
import { contactOf } from "./text/contact";
import "./styles/index.css";

const place = document.getElementById("contact");
if (place === null) throw new Error("people.html has no #contact");
const { contact } = await readConfig();
const found = contactOf(contact);
if (found === null) {
  place.textContent =
    "The operator of this site has not said where to write to. Until then, deleting a post on its network removes it here too.";
} else {
  const link = document.createElement("a");
  link.href = found.href;
  link.textContent = found.text;
  place.replaceChildren("Write to ", link, ".");
}
