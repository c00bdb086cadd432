// Trees as nested lists, which screen readers and printers know.

A.tree = (tree) => {
  const branch = (node) => {
    const children = node.children.length > 0 ? A.el("ul", null, ...node.children.map(branch)) : null;
    return A.el("li", null, A.el("span", { class: "name" }, node.name), node.text ? A.el("span", { class: "soft" }, `  ${node.text}`) : null, children);
  };
  return A.el("div", { class: "tree" }, A.el("ul", null, branch(tree.root)));
};
