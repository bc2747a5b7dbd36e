/** The form of a page whose work takes a while: its fields, a button that starts the work and one that stops it. */
import type { ComponentChildren } from 'preact';
import type { Task } from './use_task.js';

interface TaskFormProps {
  readonly task: Task;
  /** What the button that starts says. */
  readonly verb: string;
  readonly canStart: boolean;
  readonly onStart: () => void;
  /** The fields. */
  readonly children: ComponentChildren;
  /** Buttons besides the two. */
  readonly buttons?: ComponentChildren;
}

export function TaskForm({ task, verb, canStart, onStart, children, buttons }: TaskFormProps) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (canStart) onStart();
      }}
    >
      {children}
      <div class="buttons">
        <button type="submit" disabled={!canStart}>
          {verb}
        </button>
        <button type="button" class="secondary" disabled={!task.isRunning} onClick={task.stop}>
          Stop
        </button>
        {buttons}
      </div>
    </form>
  );
}
