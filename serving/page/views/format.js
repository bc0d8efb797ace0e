// Formatting values for display.

const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const number = new Intl.NumberFormat();

export const formatPrice = (value) => money.format(value);
export const formatNumber = (value) => number.format(value);
export const formatProductCount = (value) => `${number.format(value)} ${value === 1 ? "product" : "products"}`;

/** Format a value of any column. */
export function formatValue(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  return typeof value === "number" ? number.format(value) : String(value);
}

/** Format a column's name as a label: care_label → Care label. */
export function columnLabel(name) {
  const label = name.replaceAll("_", " ").trim();
  return label.charAt(0).toUpperCase() + label.slice(1);
}

export const displayName = (product) => product.title || product.product_id;
