/** Where to write to: an e-mail address or an https address that the operator set. Null for anything else. */
export function contactOf(contact: string): { href: string; text: string } | null {
  const text = contact.trim();
  if (/^[^@\s]+@[^@\s]+\.[^@\s]+$/u.test(text)) return { href: `mailto:${text}`, text };
  if (!/^https:\/\/\S+$/u.test(text)) return null;
  return { href: text, text };
}
